"""What Kubekeel costs, measured on this computer: `python3 -m bench`."""
