"""Catalog files and what they name: recorded, imported, compared with the Hub, edited."""
