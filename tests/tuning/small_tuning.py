"""A suite whose cells take no time, with three optimizers, two strategies and something to tune."""

SUITE = """\
name: regression
models: [linear-attention]
tasks: [{preset: icl-regression, train: 64, validation: 16, test: 64}]
strategies: [uniform, random_upsample]
optimizers: [{preset: gd, rule: {lr: 0.1}}, adamw, sam]
budget: {steps: 4}
training: {batch_size: 32}
ranked_by: test_loss
tuning:
  trials: 8
  score: test_loss
  spaces:
    - {optimizer: gd, space: {rule.lr: {low: 1e-3, high: 10}}}
    - {optimizer: adamw, space: {rule.lr: {low: 1e-4, high: 1e-1}}}
    - {optimizer: sam, space: {rule.lr: {low: 1e-4, high: 1e-1}, estimator.rho: {low: 0.01, high: 1}}}
"""
