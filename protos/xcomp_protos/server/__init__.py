"""How both servers run: options, authentication, admission of calls, time-outs, and the gRPC server itself."""
