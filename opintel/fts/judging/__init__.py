"""The judges of stage 2, and how they explain what they found."""
