# The plan of `tandem demo`: four phones, a group that rings them all, voicemail, an echo test, music, a conference and a menu.

dialplan "demo" {
  format  = 1
  domains = ["demo.example"]
}

user "1000" {
  extension = "1000"
  voicemail = true
}

user "1001" {
  extension = "1001"
  voicemail = true
}

user "1002" {
  extension = "1002"
  voicemail = true
}

user "1003" {
  extension = "1003"
  voicemail = true
}

ring "everybody" {
  extension = "1999"
  members   = [user.1000, user.1001, user.1002, user.1003]
  timeout   = "20s"
  otherwise { go = music.busy }
}

music "busy" {
  play    = "tone:busy"
  timeout = "10s"
}

echo "test" {
  extension = "*43"
}

music "hold" {
  extension = "*98"
}

conference "everybody" {
  extension = "8000"
}

# Whoever calls this from his phone hears his messages; from elsewhere it asks for mailbox and PIN.
voicemail "own" {
  extension = "*97"
  listen    = true
}

# Behind the dial tone: 1 rings everybody, 2 is the conference, 3 the echo test, 4 music; or an extension.
menu "main" {
  extension = "0"
  play      = "tone:dial"
  wait      = "15s"
  wrong     = "tone:info"
  dial      = true
  key "1" { go = ring.everybody }
  key "2" { go = conference.everybody }
  key "3" { go = echo.test }
  key "4" { go = music.hold }
  otherwise { go = music.busy }
}

test "1 in the menu rings everybody" {
  call   = { from = user.1000, to = "0" }
  keys   = ["1"]
  expect = [menu.main, ring.everybody]
}

test "an extension can be dialled in the menu" {
  call   = { from = user.1000, to = "0" }
  keys   = ["1003"]
  expect = [menu.main, user.1003]
}

test "nothing is pressed in the menu" {
  call   = { from = user.1000, to = "0" }
  given  = { "menu.main" = 408 }
  expect = [menu.main, music.busy]
}

test "a phone calls another one" {
  call   = { from = user.1000, to = "1001" }
  expect = [user.1001]
}

test "who does not answer has a mailbox" {
  call   = { from = user.1000, to = "1001" }
  given  = { "user.1001" = 408 }
  expect = [user.1001, voicemail.1001]
}

test "*97 plays messages" {
  call   = { from = user.1000, to = "*97" }
  expect = [voicemail.own]
}

test "1999 rings everybody" {
  call   = { from = user.1000, to = "1999" }
  given  = { "ring.everybody" = 200 }
  expect = [ring.everybody]
}

test "nobody answers 1999: busy tone" {
  call   = { from = user.1000, to = "1999" }
  given  = { "ring.everybody" = 408 }
  expect = [ring.everybody, music.busy]
}

test "*43 is the echo test" {
  call   = { from = user.1003, to = "*43" }
  expect = [echo.test]
}

test "*98 plays music" {
  call   = { from = user.1003, to = "*98" }
  expect = [music.hold]
}

test "8000 is the conference" {
  call   = { from = user.1003, to = "8000" }
  expect = [conference.everybody]
}

test "nobody has 4711" {
  call   = { from = user.1000, to = "4711" }
  expect = []
}
