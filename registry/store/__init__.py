"""What is installed, was verified and was measured on this machine, remembered in a database."""
