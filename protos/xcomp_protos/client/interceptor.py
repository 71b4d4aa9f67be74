"""What every call that goes out carries: the id of the request that it serves, and its trace.

The interceptor is in every channel; outside a request, and where nobody keeps traces, it adds nothing.
"""

import grpc

from xcomp_protos.telemetry import api

Metadata = tuple[tuple[str, str | bytes], ...]


class RequestContextInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # generic in the stubs alone
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
):
    """Adds metadata, and ends the span when the call ends."""

    def _intercept(self, continuation, details, request):  # type: ignore[no-untyped-def]
        carrier: dict[str, str] = {}
        if api.request_id.get():
            carrier[api.REQUEST_ID] = api.request_id.get()
        tracer = api.tracer()
        span = tracer.called(details.method, carrier) if tracer else None
        given = tuple(details.metadata or ())
        named = {key for key, _ in given}
        added = tuple((key, value) for key, value in carrier.items() if key not in named)
        call = continuation(details._replace(metadata=(*given, *added)), request)
        if span:
            call.add_done_callback(lambda ended: span.end(ended.code().name))
        return call

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
