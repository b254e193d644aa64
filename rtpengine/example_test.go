package rtpengine_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"tandem/rtpengine"
)

// A relayed call with two forks: one offer, an early answer of the first phone, the final one of the second.
func ExampleSession() {
	local := netip.MustParseAddr("127.0.0.1")
	engine, err := rtpengine.New(rtpengine.Config{Bind: []netip.Addr{local}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()

	session, err := engine.NewSession(rtpengine.SessionConfig{ID: "call-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	phone := func(port string) []byte {
		return []byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio " + port + " RTP/AVP 0\r\n")
	}
	toPhones, err := session.Offer(rtpengine.A, phone("4000"), local, local) // into every branch's INVITE
	fmt.Println(strings.Count(string(toPhones), "m=audio"), err)
	_, err = session.Answer(rtpengine.B, phone("5000"), local, local) // 183 of the first phone, to the caller
	fmt.Println(err)
	_, err = session.Answer(rtpengine.B, phone("6000"), local, local) // 200 of the second, to the caller
	fmt.Println(err)

	session.Close()
	stop()
	fmt.Println(<-ended)
	// Output:
	// 1 <nil>
	// <nil>
	// <nil>
	// <nil>
}
