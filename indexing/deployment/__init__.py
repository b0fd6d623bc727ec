"""All legs of a collection in one Qdrant collection: on a server or cluster, or embedded in this process."""
