"""From manifests of photographs and masks to a model folder with honest scores."""
