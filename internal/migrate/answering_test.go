package migrate

import (
	"strings"
	"testing"
	"testing/fstest"

	"tandem/dialplan"
)

// folderOf is a configuration folder, its files written one behind the other below lines like "== queues.conf".
func folderOf(text string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, part := range strings.Split(text, "\n== ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		files[name] = &fstest.MapFile{Data: []byte(body + "\n")}
	}
	return files
}

func asteriskOf(t *testing.T, text string) *Result {
	t.Helper()
	r, err := Asterisk(folderOf("\n== pjsip.conf"+twoPhones+text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// says tells whether a report has a line that begins and goes on so.
func says(t *testing.T, r *Result, at string, words ...string) {
	t.Helper()
	for line := range strings.Lines(r.Report()) {
		found := strings.HasPrefix(line, "- "+at+": ")
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			return
		}
	}
	t.Errorf("of %s it is not said that %s:\n%s", at, strings.Join(words, " ... "), r.Report())
}

// planHas tells whether the plan has some lines.
func planHas(t *testing.T, r *Result, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(string(r.Plan), l) {
			t.Errorf("the plan has no\n%s\nbut is\n%s", l, r.Plan)
		}
	}
}

func TestMailboxesMoveFromAsterisk(t *testing.T) {
	r := asteriskOf(t, `
[alice](+)
mailboxes=201@default
[old]
type=aor
== extensions.conf
[in]
exten => 201,1,Dial(PJSIP/alice,20)
 same => n,VoiceMail(201@default,u)
 same => n,Hangup()
exten => 202,1,Dial(PJSIP/bob,20)
 same => n,VoiceMail(202&201,su)
exten => 600,1,VoiceMail(600)
 same => n,Dial(PJSIP/alice)
exten => 601,1,VoiceMail(999)
exten => *97,1,VoiceMailMain(${CALLERID(num)}@default)
exten => *98,1,VoiceMailMain()
exten => *99,1,VoiceMailMain(201@default)
== voicemail.conf
[general]
format=wav
maxsecs=90
maxmsg=5000
externnotify=/usr/bin/tell
[default]
201 => 471147,Alice,alice@acme.example,,tz=gb|delete=yes
202 => 12,Bob
600 => -298815,Front desk,,,maxmsg=20
700 => 1234,Nobody
`)
	planHas(t, r, `voicemail "alice" {
  max_length   = "90s"
  max_messages = 1000
  pin          = "471147"
}`, `voicemail "600" {
  extension    = "600"
  max_length   = "90s"
  max_messages = 20
  pin          = "298815"
}`, `voicemail "messages" {
  extension = "*97"
  listen    = true
}`)
	for number, want := range map[string]string{"201": "user.alice voicemail.alice", "202": "user.bob voicemail.202", "600": "voicemail.600", "*97": "voicemail.messages"} {
		if got := route(t, r, number, nil); got != want {
			t.Errorf("%s goes through %s, want %s", number, got, want)
		}
	}
	if got := route(t, r, "*99", nil); !strings.HasPrefix(got, "reject.not_imported") {
		t.Errorf("a certain mailbox is played at %s", got)
	}
	says(t, r, "voicemail.conf:5", "externnotify", "no counterpart")
	says(t, r, "voicemail.conf:7", "delete=yes", "no counterpart")
	says(t, r, "voicemail.conf:7", "alice@acme.example", "not sent by e-mail")
	says(t, r, "voicemail.conf:7", "with its PIN, which stands in the plan")
	says(t, r, "voicemail.conf:8", "its PIN is none of 4 to 12 digits")
	says(t, r, "voicemail.conf:9", "it belongs to nobody", "owners")
	says(t, r, "voicemail.conf:10", "no call leads to this mailbox")
	says(t, r, "extensions.conf:6", "a message goes into one mailbox here")
	says(t, r, "extensions.conf:7", "what stands behind it, for a full mailbox, is left out")
	says(t, r, "extensions.conf:9", "there is no mailbox 999@default")
	says(t, r, "extensions.conf:12", "not of a certain mailbox")
}

func TestQueuesMoveFromAsterisk(t *testing.T) {
	r := asteriskOf(t, `
== extensions.conf
[in]
exten => 300,1,MixMonitor(x.wav)
 same => n,Queue(support,tT,,,300)
 same => n,GotoIf($["${QUEUESTATUS}" = "FULL"]?full)
 same => n,Dial(PJSIP/alice,20)
 same => n(full),Hangup()
exten => 301,1,Queue(support,,,,60)
exten => 302,1,Queue(nobody)
exten => 303,1,Queue(away)
[press]
exten => 1,1,Dial(PJSIP/bob,20)
exten => 22,1,Dial(PJSIP/bob,20)
== queues.conf
[general]
persistentmembers=yes
[support]
strategy=rrmemory
timeout=10
timeout=12
wrapuptime=30
maxlen=25
announce-frequency=45
joinempty=yes
periodic-announce=please-wait
context=press
member => PJSIP/alice,2,Alice
member => PJSIP/bob
member => DAHDI/1
[away]
strategy=wrandom
`)
	planHas(t, r, `  agents      = [user.alice, user.bob]
  timeout     = "12s"
  wrap_up     = "30s"
  max_callers = 25
  announce    = "45s"
  strategy    = "round_robin"
  stay        = true
  max_wait    = "300s"
  record      = true
  key "1" { go = `)
	plan, diags := dialplan.Compile([]dialplan.Source{{Name: "p", Text: r.Plan}})
	if plan == nil {
		t.Fatal(diags)
	}
	if queues := plan.Queues("main"); len(queues) != 1 || queues[0].Queue.Strategy != dialplan.RoundRobin {
		t.Errorf("queues are %+v", queues)
	}
	for number, want := range map[string]string{"300": "queue.support user.alice", "301": "feature.301 queue.support user.alice"} {
		if got := route(t, r, number, nil); got != want {
			t.Errorf("%s goes through %s, want %s", number, got, want)
		}
	}
	says(t, r, "queues.conf:11", "periodic-announce", "left out")
	says(t, r, "queues.conf:13", "penalties have no counterpart")
	says(t, r, "queues.conf:15", "DAHDI channels have no counterpart")
	says(t, r, "queues.conf:17", "this strategy has no counterpart")
	says(t, r, "extensions.conf:3", "QUEUESTATUS is TIMEOUT")
	says(t, r, "extensions.conf:7", "a queue is one wherever it is named")
	says(t, r, "extensions.conf:8", `there is no queue "nobody"`)
	says(t, r, "extensions.conf:9", "nobody is an agent of this queue")
}

const centre = `
== directory/house.xml
<include>
  <user id="1000"><params><param name="password" value="x-secret"/><param name="vm-password" value="4711"/><param name="vm-mailto" value="a@acme.example"/></params></user>
  <user id="1001"><params><param name="password" value="y-secret"/></params></user>
</include>
== autoload_configs/callcenter.conf.xml
<configuration name="callcenter.conf">
  <queues>
    <queue name="support@default">
      <param name="strategy" value="top-down"/>
      <param name="max-wait-time" value="120"/>
      <param name="record-template" value="/tmp/x.wav"/>
      <param name="tier-rules-apply" value="true"/>
    </queue>
  </queues>
  <agents>
    <agent name="b@default" type="callback" contact="[leg_timeout=10]user/1001@acme.example" status="Available" wrap-up-time="10"/>
    <agent name="a@default" type="callback" contact="user/1000@acme.example" status="Available" wrap-up-time="10"/>
  </agents>
  <tiers>
    <tier agent="b@default" queue="support@default" level="2" position="1"/>
    <tier agent="a@default" queue="support@default" level="1" position="1"/>
    <tier agent="c@default" queue="support@default" level="1" position="1"/>
  </tiers>
</configuration>
== autoload_configs/fifo.conf.xml
<configuration name="fifo.conf"><fifos><fifo name="desk@acme.example">
  <member timeout="20" simo="1" lag="5">{member_wait=nowait}user/1001@acme.example</member>
</fifo></fifos></configuration>
== dialplan/default.xml
<context name="default">
  <extension name="support"><condition field="destination_number" expression="^300$"><action application="callcenter" data="support@default"/></condition></extension>
  <extension name="desk"><condition field="destination_number" expression="^301$"><action application="fifo" data="desk@acme.example in"/></condition></extension>
  <extension name="agent"><condition field="destination_number" expression="^302$"><action application="fifo" data="desk@acme.example out wait"/></condition></extension>
  <extension name="box"><condition field="destination_number" expression="^303$"><action application="voicemail" data="default acme.example 1000"/></condition></extension>
  <extension name="messages"><condition field="destination_number" expression="^\*98$"><action application="voicemail" data="check default acme.example"/></condition></extension>
</context>
`

func TestMailboxesAndCallCentresMoveFromFreeSWITCH(t *testing.T) {
	r, err := FreeSWITCH(folderOf(centre), Options{})
	if err != nil {
		t.Fatal(err)
	}
	planHas(t, r, `  agents    = [user.1000, user.1001]
  strategy  = "in_order"
  stay      = true
  record    = true
  wrap_up   = "10s"
  max_wait  = "120s"
`, `  agents    = [user.1001]
  strategy  = "ring_all"
  stay      = true
  timeout   = "20s"
  wrap_up   = "5s"
`, `voicemail "1000" {
  extension = "303"
  pin       = "4711"
}`, `voicemail "messages" {
  extension = "*98"
  listen    = true
}`)
	says(t, r, "autoload_configs/callcenter.conf.xml:7", "tier-rules-apply=true")
	says(t, r, "autoload_configs/callcenter.conf.xml:17", "there is no agent of this name")
	says(t, r, "directory/house.xml:2", "a@acme.example", "not sent by e-mail")
	says(t, r, "dialplan/default.xml:4", "fifo", "no counterpart")
	if text := string(r.Plan) + r.Report(); strings.Contains(text, "-secret") {
		t.Error("a password is in the plan or the report")
	}
}

func TestParkingAndPagesMoveFromAsterisk(t *testing.T) {
	r := asteriskOf(t, `
== extensions.conf
[in]
include => parkedcalls
exten => 700,1,Park()
exten => 703,1,Dial(PJSIP/bob)
exten => 780,1,Page(PJSIP/alice&PJSIP/bob&PJSIP/out,di)
exten => 781,1,Park(elsewhere)
== res_parking.conf
[general]
[default]
parkext => 700
parkpos => 701-720
context => parkedcalls
parkingtime => 90
courtesytone = beep
[idle]
parkpos => 801-820
context => nowhere
`)
	planHas(t, r, `park "default" {
  extension = "700"
  slots     = "701-720"
  timeout   = "90s"
}`, `page "780" {
  extension = "780"
  members   = [user.alice, user.bob]
  talk      = true
}`)
	for number, want := range map[string]string{"700": "park.default", "720": "park.default", "780": "page.780"} {
		if got := route(t, r, number, nil); got != want {
			t.Errorf("%s goes through %s, want %s", number, got, want)
		}
	}
	says(t, r, "extensions.conf:4", "these are numbers of a parking lot")
	says(t, r, "extensions.conf:5", "option i of Page")
	says(t, r, "extensions.conf:6", `there is no parking lot "elsewhere"`)
	says(t, r, "res_parking.conf:7", "courtesytone")
	says(t, r, "res_parking.conf:8", "no context of users includes nowhere")
}

func TestParkingAndPagesMoveFromFreeSWITCH(t *testing.T) {
	before, _, _ := strings.Cut(centre, "== dialplan/")
	r, err := FreeSWITCH(folderOf(before+`== dialplan/default.xml
<context name="default">
  <extension name="park"><condition field="destination_number" expression="^5900$"><action application="valet_park" data="lot@acme.example auto in 5901 5919"/></condition></extension>
  <extension name="fetch"><condition field="destination_number" expression="^(590[1-9])$"><action application="valet_park" data="lot@acme.example $1"/></condition></extension>
  <extension name="all"><condition field="destination_number" expression="^780$">
    <action application="set" data="conference_auto_outcall_flags=mute"/>
    <action application="conference_set_auto_outcall" data="user/1000@acme.example"/>
    <action application="conference_set_auto_outcall" data="user/1001@acme.example"/>
    <action application="conference" data="page@default"/>
  </condition></extension>
</context>
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	planHas(t, r, `  slots     = "5901-5919"
`, `  members   = [user.1000, user.1001]
}`)
	says(t, r, "dialplan/default.xml:8", "phones answer by themselves")
	says(t, r, "dialplan/default.xml:3", "a number of a parking lot")
}

// FuzzAnswering imports mailboxes, queues and parking lots of any kind: what comes out compiles.
func FuzzAnswering(f *testing.F) {
	f.Add("[general]\nmaxsecs=1\nmaxmsg=0\n[default]\n201 => 1111,A\nalice => x\n", "[q]\nmember => PJSIP/alice\nmember => PJSIP/bob,1\ntimeout=0\nannounce-frequency=5\ncontext=in\nstrategy=x\n", "[default]\nparkext=700\nparkpos=701-702\nparkingtime=0\n")
	f.Add("[default]\n201 => 4711\n[other]\n201 => 1234,,,,maxmsg=9999|x=y\n", "[q]\nmember => Local/201@in\nwrapuptime=-1\nmaxlen=100000\n", "[default]\nparkpos=201-203\n[x]\nparkpos=1-0\n[y]\nparkpos=0-9999999\n")
	f.Add("[default]\n201 => 4711\n", "[q]\nmember => PJSIP/alice\nwrapuptime=1\nwrapuptime=2\n", "[default]\nparkpos=701-702\ncomebacktoorigin=no\ncomebacktoorigin=no\n")
	f.Fuzz(func(t *testing.T, boxes, queues, lots string) {
		if len(boxes)+len(queues)+len(lots) > 5000 {
			return
		}
		_, err := Asterisk(fstest.MapFS{
			"pjsip.conf": {Data: []byte(twoPhones + "[alice](+)\nmailboxes=201\n")}, "voicemail.conf": {Data: []byte(boxes)}, "queues.conf": {Data: []byte(queues)}, "res_parking.conf": {Data: []byte(lots)},
			"extensions.conf": {Data: []byte("[in]\ninclude => parkedcalls\nexten => 1,1,Queue(q,,,,9)\nsame => n,VoiceMail(201,u)\nexten => 201,1,Dial(PJSIP/alice,9)\nsame => n,VoiceMail(201@other)\nexten => 3,1,VoiceMail(alice)\nexten => 4,1,Park(x)\nexten => 5,1,Page(PJSIP/alice)\nexten => 6,1,Queue(q)\nsame => n,Goto(1,1)\nexten => *97,1,VoiceMailMain()\n")},
		}, Options{})
		if err != nil && strings.Contains(err.Error(), "fault of this program") {
			t.Fatal(err)
		}
	})
}
