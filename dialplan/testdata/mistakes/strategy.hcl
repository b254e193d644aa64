dialplan "acme" {}
user "alice" {}
ring "a" {
  extension = "1"
  strategy  = "inorder"
  members   = [user.alice]
  timeout   = "20 s"
  otherwise { go = user.alice }
}
ring "b" {
  extension = "2"
  members   = [user.alice]
  timeout   = "2h"
  otherwise { go = user.alice }
}
