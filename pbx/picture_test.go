package pbx

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// eye is where a phone sends and receives video: RTP and RTCP.
type eye struct {
	t         *testing.T
	rtp, rtcp *net.UDPConn
	to        [2]netip.AddrPort
}

func openEye(t *testing.T) *eye {
	t.Helper()
	e := &eye{t: t}
	for _, c := range []**net.UDPConn{&e.rtp, &e.rtcp} {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	return e
}

// description is of a phone with video over a profile, and more lines on it.
func (e *eye) description(profile string, lines ...string) string {
	port := func(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }
	return fmt.Sprintf("v=0\r\no=eye 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video %d %s 96\r\na=rtcp:%d\r\na=rtpmap:96 H264/90000\r\n",
		port(e.rtp), profile, port(e.rtcp)) + strings.Join(lines, "")
}

var videoPort = regexp.MustCompile(`m=video (\d+) `)

// sees learns where to send from the description that the phone was given.
func (e *eye) sees(sdp string) {
	e.t.Helper()
	var port uint16
	found := videoPort.FindStringSubmatch(sdp)
	if found == nil {
		e.t.Fatalf("no video in\n%s", sdp)
	}
	_, _ = fmt.Sscan(found[1], &port)
	for i := range e.to {
		e.to[i] = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port+uint16(i))
	}
}

func (e *eye) send(c *net.UDPConn, component int, b []byte) {
	e.t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, e.to[component]); err != nil {
		e.t.Fatal(err)
	}
}

func (e *eye) next(c *net.UDPConn) []byte {
	e.t.Helper()
	b := make([]byte, 2048)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		e.t.Fatal(err)
	}
	return b[:n]
}

// A phone that knows feedback in the media and one that knows INFO ask each other for full pictures.
func TestPicturesAreWantedInTheMediaOrByINFO(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		his, hers := openEye(t), openEye(t)
		alice := o.phone("alice", rings)
		bob := o.phone("bob", func(c *fakephone.Call) {
			his.sees(c.Invite.Body())
			c.Answer(his.description("RTP/AVP"))
		})
		status, asked := 200, make(chan *fakephone.Message, 4)
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INFO" {
				bob.Reply(m, status)
				asked <- m
			}
			return m.Method() == "INFO"
		})
		call := alice.Call("bob", hers.description("RTP/AVPF", "a=rtcp-fb:96 nack pli\r\n"))
		hers.sees(call.MustAnswer().Body())

		for n := range byte(3) { // as many as it takes to be known: their signalling comes from elsewhere
			hers.send(hers.rtp, 0, []byte{0x80, 96, 0, n, 0, 0, 0, 1, 0, 0, 0, 0xa, 'p'})
			his.send(his.rtp, 0, []byte{0x80, 96, 0, n, 0, 0, 0, 1, 0, 0, 0, 0xb, 'p'})
			hers.send(hers.rtcp, 1, []byte{0x80, 201, 0, 1, 0, 0, 0, 0xa})
			his.send(his.rtcp, 1, []byte{0x80, 201, 0, 1, 0, 0, 0, 0xb})
		}
		pli := []byte{0x80, 201, 0, 1, 0, 0, 0, 0xa, 0x81, 206, 0, 2, 0, 0, 0, 0xa, 0, 0, 0, 0xb}
		hers.send(hers.rtcp, 1, pli)
		m := <-asked
		expect(t, "what bob is asked", m.Header("Content-Type"), mediaControl)
		expect(t, "wanted", wantsPicture(mediaControl, m.Body()), true)

		expect(t, "bob's INFO", bob.Calls()[0].Request("INFO", fastUpdate, "Content-Type: "+mediaControl).Final().Status(), 200)
		want := []byte{0x80, 201, 0, 1, 0, 0, 0, 0xb, 0x81, 206, 0, 2, 0, 0, 0, 0xb, 0, 0, 0, 0xa}
		for got := hers.next(hers.rtcp); !bytes.Equal(got, want); got = hers.next(hers.rtcp) { // bob's reports
			if len(got) != 8 {
				t.Fatalf("alice is told %x, want %x", got, want)
			}
		}
		expect(t, "INFOs that alice got", len(alice.Requests("INFO")), 0)
		st := o.pbx.Stats()
		expect(t, "wanted and asked", fmt.Sprint(st.PicturesWanted, st.PicturesAsked, st.PicturesRefused), "1 1 0")

		expect(t, "alice's other INFO", call.Request("INFO", "<media_control/>", "Content-Type: "+mediaControl).Final().Status(), 200)
		expect(t, "is bob's", (<-asked).Body(), "<media_control/>")
		call.Bye()
	})
}

// A phone that knows neither is left alone.
func TestAPhoneThatRefusesINFOIsAskedOnce(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", func(c *fakephone.Call) { c.Answer(openEye(t).description("RTP/AVP")) })
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INFO" {
				bob.Reply(m, 415)
			}
			return m.Method() == "INFO"
		})
		call := alice.Call("bob", openEye(t).description("RTP/AVPF", "a=rtcp-fb:96 nack pli\r\n"))
		call.MustAnswer()
		c := o.pbx.find(call.CallID)
		c.media.askPicture(side(false))
		bob.AwaitRequest("INFO")
		expect(t, "what bob answers after his refusal", call.Request("OPTIONS", "").Final().Status(), 200)
		expect(t, "refused", o.pbx.Stats().PicturesRefused, 1)
		c.media.askPicture(side(false))
		expect(t, "bye", call.Bye().Status(), 200)
		expect(t, "INFOs that bob got", len(bob.Requests("INFO")), 1)
	})
}

func TestWhatIsNoWishForAPicture(t *testing.T) {
	for body, want := range map[string]bool{
		fastUpdate: true,
		"<media_control><vc_primitive><to_encoder><picture_fast_update></picture_fast_update></to_encoder></vc_primitive></media_control>": true,
		"<media_control><general_error>picture_fast_update</general_error></media_control>":                                                false,
		"picture_fast_update": false, "": false, "<": false, strings.Repeat("<a>", 1000): false,
	} {
		if got := wantsPicture(mediaControl, body); got != want {
			t.Errorf("%q: %v", body, got)
		}
	}
	if wantsPicture("text/xml", fastUpdate) {
		t.Error("the type is not looked at")
	}
}
