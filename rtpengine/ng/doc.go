// Package ng is the NG control protocol of rtpengine, spoken to a media engine of Tandem: a proxy that has rtpengine as its media relay
// (Kamailio, OpenSIPS) is pointed at a [Server] instead and notices no difference in the commands a relay needs.
//
// A message is one datagram: a cookie, a space and a dictionary, bencoded or JSON.
//
//	5323_1 d7:call-id4:abcd7:command5:offer8:from-tag1:a3:sdp...e
//	^----^ ^---------------------------------------------------- the answer begins with the same cookie
//
// The cookie names the request: whoever hears no answer asks again with the same one, and gets what was answered the first time.
//
// Readers take datagrams from the control addresses and hand them to one goroutine, which owns the calls, the remembered answers and the
// clock; the relaying itself is [rtpengine.Session]'s. A call is what shares a Call-ID. In it each dialogue is one Session: its sides are
// known by their tags, and the branches of a fork share it, the last answer being heard, unless the proxy tells them apart by via-branch.
//
// Nobody proves who he is in this protocol: only loopback and the addresses of [Config.Allow] are listened to.
package ng
