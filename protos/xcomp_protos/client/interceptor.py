"""Adds to every outgoing call the id of the request that it serves, and its trace.

The interceptor is in every channel. Outside a request, and where no traces are kept, it adds nothing.
"""

import grpc

from xcomp_protos.telemetry import api

Metadata = tuple[tuple[str, str | bytes], ...]


class RequestContextInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # generic only in the stubs
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the metadata, and ends the span when the call ends."""

    def _intercept(self, continuation, details, request):  # type: ignore[no-untyped-def]
        carrier: dict[str, str] = {}
        if api.request_id.get():
            carrier[api.REQUEST_ID] = api.request_id.get()
        tracer = api.current_tracer()
        span = tracer.start_client_span(details.method, carrier) if tracer else None
        given = tuple(details.metadata or ())
        keys = {key for key, _ in given}
        added = tuple((key, value) for key, value in carrier.items() if key not in keys)
        call = continuation(details._replace(metadata=(*given, *added)), request)
        if span:
            call.add_done_callback(lambda ended: span.end(ended.code().name))
        return call

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
