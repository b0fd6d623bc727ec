"""Search pipelines, rerankers and encoders as parts of other frameworks: one module and one extra for each."""
