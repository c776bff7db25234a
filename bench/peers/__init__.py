"""The peers: a server and a client each as their documentation has them, run in environments of their own."""
