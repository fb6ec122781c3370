"""CompressAI's names of the models that can be imported."""

FACTORIZED, HYPERPRIOR, MEAN = "bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean"
ARCHITECTURES = (FACTORIZED, HYPERPRIOR, MEAN)
