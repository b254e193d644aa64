dialplan "acme" {}
user "alice" {}
ring "a" {
  extension = "1"
  members   = [user.alice, ring.b, echo.test]
  otherwise { go = echo.test }
}
ring "b" {
  extension = "2"
  members   = [user.alice]
  otherwise { go = echo.test }
  otherwise { go = user.alice }
}
echo "test" {}
