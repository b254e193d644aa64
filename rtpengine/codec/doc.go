// Package codec turns what telephones send into samples and back: G.711, G.722 and Opus, what replaces a lost packet, comfort
// noise, sampling rates, and a jitter buffer. It knows no sessions, no network and no clock.
//
// A Kind is found by the name, clock and channels of an rtpmap line, or by a payload type that has a fixed meaning; a Library says
// which Kinds this machine can do in which direction, and makes the objects:
//
//	lib := codec.Open("")                    // once; looks for libopus
//	kind := codec.Named("opus", 48000, 2)    // "a=rtpmap:111 opus/48000/2"; codec.Static(9) is G.722
//	if lib.Encodes(kind) {
//		dec, err := lib.NewDecoder(kind, 8000)   // Opus gives any of its rates, G.711 8000, G.722 16000
//		enc, err := lib.NewEncoder(kind, 8000)
//		n, err := dec.Decode(pcm, payload)
//		m, err := enc.Encode(payload, pcm[:n])
//	}
//
// Decoders and encoders belong to one stream and one goroutine at a time. They allocate when they are made and not afterwards, and
// need not be closed: also the memory that libopus works in is Go's.
package codec
