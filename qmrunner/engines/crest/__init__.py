"""CREST: conformer searches."""
