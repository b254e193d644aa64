package rtpengine

// Payload types of G.711 (RFC 3551 §6): one octet a sample, 8 kHz.
const (
	payloadPCMU = 0
	payloadPCMA = 8
)
