"""Panels: families of metrics that a suite asks for, measured on a trained model or while it trains."""
