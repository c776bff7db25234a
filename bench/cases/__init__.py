"""What is compared, a case each."""
