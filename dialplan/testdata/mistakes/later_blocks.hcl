dialplan "acme" {}
did "+442079460000" { go = ring.sales }
menu "main" {}
queue "sales" {}
voicemail "sales" {}
trunk "carrier" {}
calendar "office" {}
outbound "uk" {}
emergency "uk" {}
never "x" {}
app "crm" {}
park "lot" {}
feature "x" {}
page "all" {}
