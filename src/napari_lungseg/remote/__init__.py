"""Predict and train on a worker of a Dask cluster (extra ``cluster``) for somebody who looks on."""
