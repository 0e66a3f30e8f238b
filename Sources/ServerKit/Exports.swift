// A module needs one import: the vocabulary and the streams' types belong to the API of the server.
@_exported import Logging
@_exported import Streams
@_exported import XMPP
