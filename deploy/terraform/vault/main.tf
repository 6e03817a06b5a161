# Vault's or OpenBao's side: the policy, and a login by the pod's service account or by AppRole.
# The policy is deploy/vault/rotator.hcl, which the tests hold to what rotator really calls.

terraform {
  required_version = ">= 1.5"
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 4.0"
    }
  }
}

variable "mount" {
  description = "Where the KV version 2 engine is mounted"
  type        = string
  default     = "secret"
}

variable "path" {
  description = "The secrets, as a path of Vault's policies"
  type        = string
  default     = "prod/+/lettermint"
}

variable "kubernetes_mount" {
  description = "Where Kubernetes authentication is mounted; empty for AppRole"
  type        = string
  default     = "kubernetes"
}

variable "namespace" {
  description = "Of Kubernetes"
  type        = string
  default     = "rotator"
}

variable "service_account" {
  type    = string
  default = "rotator"
}

locals {
  mounted = replace(file("${path.module}/../../vault/rotator.hcl"), "path \"secret/", "path \"${var.mount}/")
  policy  = replace(local.mounted, "prod/+/lettermint", var.path)
}

resource "vault_policy" "rotator" {
  name   = "rotator"
  policy = local.policy
}

resource "vault_kubernetes_auth_backend_role" "rotator" {
  count                            = var.kubernetes_mount != "" ? 1 : 0
  backend                          = var.kubernetes_mount
  role_name                        = "rotator"
  bound_service_account_names      = [var.service_account]
  bound_service_account_namespaces = [var.namespace]
  audience                         = "vault"
  token_policies                   = [vault_policy.rotator.name]
  token_ttl                        = 1200
}

resource "vault_approle_auth_backend_role" "rotator" {
  count              = var.kubernetes_mount == "" ? 1 : 0
  role_name          = "rotator"
  token_policies     = [vault_policy.rotator.name]
  token_ttl          = 1200
  token_max_ttl      = 14400
  secret_id_ttl      = 7776000
  secret_id_num_uses = 0
}
