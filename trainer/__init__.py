"""Train, judge and publish scikit-learn models to a store that `mlshared` serves from."""
