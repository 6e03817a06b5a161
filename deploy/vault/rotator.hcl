# For every secret at prod/NAME/lettermint of the KV version 2 engine that is mounted at "secret".
# What a token may do to itself (look up, renew, revoke) stands in Vault's own policy "default".

# The secret. Add "create" where a policy of rotator says `create: true`.
path "secret/data/prod/+/lettermint" {
  capabilities = ["read", "update"]
}

# The place beside it where a token is staged, and the right to write is proved.
path "secret/data/prod/+/lettermint/rotator-pending" {
  capabilities = ["create", "read", "update"]
}
path "secret/metadata/prod/+/lettermint/rotator-pending" {
  capabilities = ["delete"]
}

# Optional, from Vault 1.9 on: notes on the secret, of the rotation that wrote it and when.
path "secret/metadata/prod/+/lettermint" {
  capabilities = ["patch"]
}
