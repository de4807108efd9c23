"""Seeds added until the declared contrasts are resolved, by a rule that stays valid under any number of looks."""
