# The plan of `tandem demo`: four phones, a group that rings them all, an echo test, music and a conference.

dialplan "demo" {
  format  = 1
  domains = ["demo.example"]
}

user "1000" {
  extension = "1000"
}

user "1001" {
  extension = "1001"
}

user "1002" {
  extension = "1002"
}

user "1003" {
  extension = "1003"
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

test "a phone calls another one" {
  call   = { from = user.1000, to = "1001" }
  expect = [user.1001]
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
