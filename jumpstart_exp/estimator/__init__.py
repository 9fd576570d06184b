"""Deep, thin networks as scikit-learn estimators: what is in it imports no torch before something is trained."""
