"""Downloads single files over HTTP: resumed, checked, and tried again where that may help."""
