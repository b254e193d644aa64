package pbx

import (
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// earpiece is the media side of a phone: a socket that says one sample over and over, and knows the loudest packet that it has heard.
type earpiece struct {
	conn *net.UDPConn

	mu   sync.Mutex
	loud int // samples of the loudest packet that are not silence
}

func newEarpiece(t *testing.T) *earpiece {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	e := &earpiece{conn: conn}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		b := make([]byte, 2000)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			loud := 0
			for _, sample := range b[min(12, n):n] {
				if sample&0x7f < 0x50 { // µ-law: the higher, the quieter
					loud++
				}
			}
			e.mu.Lock()
			e.loud = max(e.loud, loud)
			e.mu.Unlock()
		}
	}()
	return e
}

func (e *earpiece) hears() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loud
}

func (e *earpiece) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loud = 0
}

func (e *earpiece) sdp() string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n", e.conn.LocalAddr().(*net.UDPAddr).Port)
}

var audioPort = regexp.MustCompile(`m=audio (\d+)`)

// talk sends loud or silent packets to the port of a description until stop is closed.
func (e *earpiece) talk(t *testing.T, sdp string, sample byte, stop chan struct{}) {
	t.Helper()
	m := audioPort.FindStringSubmatch(sdp)
	if m == nil {
		t.Fatalf("no audio in %q", sdp)
	}
	port, _ := strconv.Atoi(m[1])
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		b := make([]byte, 172)
		b[0] = 0x80
		binary.BigEndian.PutUint32(b[8:], uint32(port))
		for i := 12; i < len(b); i++ {
			b[i] = sample ^ byte(i/8%2)<<7 // a square wave
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint16(0); ; n++ {
			binary.BigEndian.PutUint16(b[2:], n)
			binary.BigEndian.PutUint32(b[4:], uint32(n)*160)
			_, _ = e.conn.WriteToUDP(b, to)
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
}

func TestCallerAndColleagueHearEachOtherBehindTheMenu(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		stop := make(chan struct{})
		defer close(stop)
		hers, his := newEarpiece(t), newEarpiece(t)
		alice := o.phone("alice", rings)
		bob := o.phone("bob", func(c *fakephone.Call) { c.Answer(his.sdp()) })
		call := alice.Call("0", hers.sdp())
		hers.talk(t, string(call.MustAnswer().Body()), 0x10, stop)
		press(call, "1")
		o.reaches("bob")
		his.talk(t, string(bob.Requests("INVITE")[0].Body()), 0x10, stop)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		<-tick.C // what rang before is over
		hers.forget()
		his.forget()
		for begin := time.Now(); (hers.hears() < 100 || his.hears() < 100) && time.Since(begin) < 10*time.Second; {
			<-tick.C
		}
		if hers.hears() < 100 || his.hears() < 100 {
			t.Errorf("alice hears %d loud samples a packet, bob %d", hers.hears(), his.hears())
		}
		call.Bye()
		o.awaitRecord()
	})
}
