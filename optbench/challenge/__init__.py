"""One optimizer against baselines within a budget: conformance, equal tuning, fresh seeds, cost, one page."""
