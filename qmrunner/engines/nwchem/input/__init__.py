"""Decks: read as NWChem reads them, checked, and written."""
