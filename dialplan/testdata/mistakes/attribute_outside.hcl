dialplan "acme" {}
extension = "201"
user = "alice"
