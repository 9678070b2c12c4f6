"""The door to Hydra: composes and checks configurations, reports errors, decides what a configuration may build."""
