"""The newest good scikit-learn model inside a running web process."""
