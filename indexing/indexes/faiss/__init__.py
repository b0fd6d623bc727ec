"""Dense vectors in FAISS."""
