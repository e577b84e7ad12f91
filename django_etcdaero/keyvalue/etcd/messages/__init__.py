"""etcd's messages: their classes, how values of the waist become messages and back, what errors mean."""
