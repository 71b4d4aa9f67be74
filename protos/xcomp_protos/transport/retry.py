"""The former name of `xcomp_protos.client.retry`."""

from xcomp_protos.client.retry import Retry

__all__ = ["Retry"]
