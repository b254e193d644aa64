package transport

import (
	"net/netip"
	"strconv"

	"tandem/sip/message"
)

// retryAfter is how long a peer that was shed is asked to stay away, in seconds (RFC 3261 §21.5.4).
const retryAfter = "Retry-After: 5\r\n"

// A refusal writes stateless answers from the bytes of requests that no shard gets to see. It belongs to one goroutine.
type refusal struct {
	t   *Transport
	msg message.Message
	buf []byte
}

// answer writes a response to a request, nil when there can be none. The text need not be a whole message. The response is
// valid until the next call.
func (r *refusal) answer(text string, f Flow, status int) []byte {
	_ = r.msg.Parse(text)
	if !r.msg.Answerable() {
		return nil
	}
	resp := message.Response{
		Status: status, ToTag: strconv.FormatUint(r.t.hashString(r.msg.CallID()), 36),
		IP: f.Remote.Addr().Unmap().String(), Port: int(f.Remote.Port()),
	}
	if status == 503 {
		resp.Extra = []byte(retryAfter)
	}
	r.buf = r.msg.AppendResponse(r.buf[:0], &resp)
	return r.buf
}

// replyTo is where a stateless answer over UDP goes: the source when the Via asks for rport, else the port of sent-by
// (RFC 3261 §18.2.2, RFC 3581 §4). It reads the Via of the request answered last.
func (r *refusal) replyTo(f Flow) netip.AddrPort {
	via, err := r.msg.TopVia()
	if err != nil || via.HasRPort {
		return f.Remote
	}
	port := via.Port
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(f.Remote.Addr(), uint16(port))
}
