"""An application whose tasks report what they find in their process. It leaves its folder when it is imported."""
