{{ config(materialized='materialized_view') }}
SELECT region, total FROM {{ ref('by_region') }} WHERE total > 20
