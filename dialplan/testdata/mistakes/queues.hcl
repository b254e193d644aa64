dialplan "acme" {}
user "alice" { extension = "201" }
queue "empty" {
  extension = "1"
  agents    = []
  otherwise { go = user.alice }
}
queue "odd" {
  extension   = "2"
  agents      = [user.alice, user.alice, echo.test, user.alcie]
  strategy    = "ring-all"
  max_callers = 0
  announce    = "2s"
  wrap_up     = "2h"
  music       = "musik"
  priority    = { "no group" = 1, "vip" = 0, "+x" = 2 }
  key "x" { go = user.alice }
  otherwise { go = user.alice }
}
queue "none" { extension = "3" }
agent "odd" {
  extension = "4"
  does      = "log_on"
  queues    = [queue.od, user.alice]
}
agent "rests" {
  extension = "5"
  does      = "pause"
  queues    = [queue.odd]
}
echo "test" { extension = "6" }
