"""Token vectors of late interaction: several vectors a document, compared by MaxSim."""
