"""Figures of a report: the same records as its tables, drawn."""
