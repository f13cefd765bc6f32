"""What is installed and was verified on this machine, remembered in a database."""
