"""The contract as readers see it: the AsyncAPI document of the running application, complete.

FastStream draws channels, operations and the models of the application's own subscribers and publishers; this room
adds headers, examples, bindings, payload types and words. Nothing here is used to accept or refuse a message: decoding
(`stream.contract.messages`) stays lenient, this describes what publishers should send and what consumers will get.
"""
