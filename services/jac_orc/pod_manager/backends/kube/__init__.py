"""The backend of a Kubernetes cluster."""
