"""Machines on this computer to try Kubekeel on: `python3 -m lab up`. Standard library only."""
