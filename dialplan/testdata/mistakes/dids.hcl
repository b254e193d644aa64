-- acme.hcl --
dialplan "acme" { country = "44" }
user "alice" { extension = "201" }
did "020 7946 0000" { go = user.alice }
did "+442079460001" { go = user.alice }
did "+442079460001" { go = user.alice }
did "+4420794600011234567" { go = user.alice }
did "+442079460002" {}
-- b.hcl --
dialplan "b" {}
user "bob" {}
did "+442079460001" { go = user.bob }
